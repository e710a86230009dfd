_base_ = "./best-mixed.py"

ptq_model = dict(quantizer=dict(bits="w8a4"))
