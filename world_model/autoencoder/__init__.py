"""A convolutional autoencoder with a KL bottleneck: the tokenizer for frames above 128 pixels.

What it is and how it is saved is in ``config``, ``layers``, ``coder``, ``tokenizer`` and
``storage``; how it is trained and judged in ``losses``, ``perceptual``, ``latents``, ``trainer``
and ``report``. ``nfd tokenizer`` runs all of it (:mod:`world_model.training.tokenizer_command`).
"""
