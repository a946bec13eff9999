//! What spans the crates of mlx5-twin. The tests are in `tests/`; there's nothing here to use.
