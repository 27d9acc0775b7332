"""The model for LitServe: ``python litserve_app.py MODEL PORT MAX_BATCH``."""

import sys

import litserve as ls
import numpy as np
import onnxruntime as ort


class Classifier(ls.LitAPI):
    def setup(self, device):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            sys.argv[1], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request):
        return np.asarray(request["features"], np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, features):
        rows = features if features.ndim == 2 else features[None]
        return self.session.run(None, {"features": rows})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"scores": np.asarray(output).tolist()}


if __name__ == "__main__":
    most = int(sys.argv[3])
    api = Classifier(max_batch_size=most, batch_timeout=0.001 if most > 1 else 0.0)
    server = ls.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error"
    )
