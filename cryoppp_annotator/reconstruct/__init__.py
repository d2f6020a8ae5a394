"""3D from boxes and from maps: projections, poses, half maps, shell correlations, views. Arrays in, arrays out."""
