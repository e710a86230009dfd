_base_ = "./omse.py"

ptq_model = dict(quantizer=dict(bits="w8a8"))
