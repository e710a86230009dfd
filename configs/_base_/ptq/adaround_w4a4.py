_base_ = "./adaround.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
