_base_ = "./selective-focus.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
