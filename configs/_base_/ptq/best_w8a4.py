_base_ = "./best.py"

ptq_model = dict(quantizer=dict(bits="w8a4"))
