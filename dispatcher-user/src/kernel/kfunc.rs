//! kfunc
