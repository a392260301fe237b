//! Files of others that are read: their size, nesting and type are limited before they are believed.
