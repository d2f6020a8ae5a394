"""Do picks fit their image: the frame guard, its evidence, and lint."""
