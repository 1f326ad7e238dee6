//! Training: metrics, and what a training loop needs around its steps.
