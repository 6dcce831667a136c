//! control_socket
