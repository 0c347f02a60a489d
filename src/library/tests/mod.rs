//! Tests of the library: what real rows mean, and what hostile databases may not do.

mod hostile;
mod meaning;
mod small_files;
