"""The model for Triton's Python backend, which calls ONNX Runtime (its wheel carries no other backend)."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        folder = Path(args["model_repository"])
        self.session = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(each, "features").as_numpy() for each in requests]
        rows = [len(each) for each in inputs]
        scores = self.session.run(None, {"features": np.concatenate(inputs)})[0]
        parts = np.split(scores, np.cumsum(rows)[:-1])
        return [
            triton.InferenceResponse(output_tensors=[triton.Tensor("scores", part)])
            for part in parts
        ]
