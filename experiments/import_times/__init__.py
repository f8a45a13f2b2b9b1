"""How long large torch networks take to import: Bi-Real-18, ReActNet-A, ResNet-18."""
