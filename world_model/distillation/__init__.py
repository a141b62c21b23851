"""Few-step worlds: methods that teach the transformer to make a frame in one pass or two.

Every method is a file of its own over the same pieces: :mod:`~world_model.distillation.conditions`
says what frames look back at (the two-copy layout, as in streaming), and
:mod:`~world_model.distillation.method` what the trainer asks of a method.
"""
