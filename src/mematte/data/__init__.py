"""Training data: crops with exact alpha, made from foregrounds, photographs and procedural mattes."""
