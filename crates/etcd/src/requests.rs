//! Parts of transactions.

use crate::keys::end_of;
use crate::wire::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::request_op::Request;
use crate::wire::response_op::Response;
use crate::wire::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};

/// Reads one key.
pub(crate) fn get(key: Vec<u8>) -> RequestOp {
    range(RangeRequest { key, ..RangeRequest::default() })
}

/// Reads what is known of one key, without its value.
pub(crate) fn look(key: Vec<u8>) -> RequestOp {
    range(RangeRequest { key, keys_only: true, ..RangeRequest::default() })
}

/// Reads all keys with a prefix.
pub(crate) fn all(prefix: Vec<u8>) -> RequestOp {
    range(RangeRequest { range_end: end_of(&prefix), key: prefix, ..RangeRequest::default() })
}

fn range(request: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(request)) }
}

pub(crate) fn put(key: Vec<u8>, value: Vec<u8>) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key, value, lease: 0 })) }
}

pub(crate) fn put_while(key: Vec<u8>, value: Vec<u8>, lease: i64) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key, value, lease })) }
}

pub(crate) fn delete(key: Vec<u8>) -> RequestOp {
    RequestOp { request: Some(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end: Vec::new() })) }
}

/// Writes a value, or takes it away.
pub(crate) fn set(key: Vec<u8>, value: Option<&Vec<u8>>) -> RequestOp {
    match value {
        Some(value) => put(key, value.clone()),
        None => delete(key),
    }
}

/// If the key was written last at that revision; 0: it is not there.
pub(crate) fn if_written_at(key: Vec<u8>, revision: i64) -> Compare {
    compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
}

/// If the key was made at that revision.
pub(crate) fn if_made_at(key: Vec<u8>, revision: i64) -> Compare {
    compare(key, CompareTarget::Create, TargetUnion::CreateRevision(revision))
}

fn compare(key: Vec<u8>, target: CompareTarget, value: TargetUnion) -> Compare {
    let result = CompareResult::Equal.into();
    Compare { result, target: target.into(), key, target_union: Some(value) }
}

/// Without a condition. Reads alone are linearizable: etcd asks its leader first.
pub(crate) fn unconditional(operations: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { compare: Vec::new(), success: operations, failure: Vec::new() }
}

/// What each read of a transaction found, in their order.
pub(crate) fn found(answer: TxnResponse) -> Vec<Vec<KeyValue>> {
    let of = |response| match response {
        Some(Response::ResponseRange(range)) => Some(range.kvs),
        _ => None,
    };
    answer.responses.into_iter().filter_map(|operation| of(operation.response)).collect()
}
