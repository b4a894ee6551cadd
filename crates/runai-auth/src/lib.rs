//! runai-auth
