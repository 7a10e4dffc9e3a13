//! Which Kubernetes objects make a deployment? From the values of the chart to typed objects; no I/O.
#![forbid(unsafe_code)]
