//! PostgreSQL's write-ahead log: names, headers, timelines, and how it lies in a store.
