#![no_main]

use distill_wire::Dialect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| distill_fuzz::request(Dialect::Responses, body));
