_base_ = "./qdrop.py"

ptq_model = dict(quantizer=dict(bits="w4a4"))
