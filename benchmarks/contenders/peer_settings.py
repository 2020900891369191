"""How peers are set up wherever they are timed, single layers and whole models alike."""

from __future__ import annotations

from typing import Any

ERRORS_ONLY = 3  # onnxruntime's log level


def onnxruntime_options(threads: int) -> Any:
    """Options of an onnxruntime session: so many threads within an operator, one operator at a time, no warnings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, ERRORS_ONLY
    return options


def openvino_settings(threads: int) -> dict[str, Any]:
    """Settings of a model compiled by OpenVINO: one request at a time as fast as it can, in float32."""
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
