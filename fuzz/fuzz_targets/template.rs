#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| distill_fuzz::model::template(text));
