use super::hash::{fingerprint, keyed, md5};
use super::*;

#[test]
fn hashes_are_the_published_ones() {
    assert_eq!(md5(b""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    assert_eq!(md5(b"abc"), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
    let digits = "1234567890".repeat(8);
    assert_eq!(md5(digits.as_bytes()), 0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a);
    // The vector of SipHash's paper: bytes 0 to 14 under the key of bytes 0 to 15.
    let message: Vec<u8> = (0..15).collect();
    let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
    assert_eq!(keyed(&message, key), 0xa129_ca61_49be_45e5);
    assert_eq!(fingerprint(b""), 0x9ae1_6a3b_2f90_404f);
}

#[test]
fn a_missing_vocabulary_and_wrong_arguments_are_errors() {
    let counts = TextVectorization::new().output_mode(OutputMode::Count);
    assert!(counts.call(&["a"]).unwrap_err().to_string().contains("no vocabulary"));
    let message = |layer: TextVectorization| layer.call(&["a"]).unwrap_err().to_string();
    let words = TextVectorization::new;
    assert!(message(words().vocabulary(["a", "a"])).contains("twice"));
    assert!(message(words().vocabulary(["a", ""])).contains("special tokens"));
    assert!(message(words().vocabulary(Vec::<String>::new())).contains("empty"));
    assert!(message(words().max_tokens(2).vocabulary(["a"])).contains("max_tokens 2"));
    assert!(message(words().pad_to_max_tokens(true)).contains("without max_tokens"));
    assert!(message(words().ngrams(0)).contains("ngrams"));
    assert!(message(words().output_mode(OutputMode::TfIdf).vocabulary(["a"])).contains("idf_weights"));
    assert!(message(words().output_sequence_length(0)).contains("output_sequence_length"));
    let strict = StringLookup::new().num_oov_indices(0).vocabulary(["a"]);
    assert_eq!(strict.call(&["a"]).unwrap().ints(), [0]);
    assert!(strict.call(&["b"]).unwrap_err().to_string().contains("\"b\""));
    assert!(Hashing::new(0).call(&["a"]).is_err());
}

#[test]
fn indices_lead_back_to_tokens() {
    let lookup = StringLookup::new().mask_token("").vocabulary(["a", "b"]);
    let tokens: Vec<Option<&String>> = [0, 1, 2, 3, 4, -1].map(|i| lookup.token(i)).into();
    assert_eq!(tokens, ["", "[UNK]", "a", "b", "[UNK]", "[UNK]"].map(String::from).each_ref().map(Some));
    let mut words = TextVectorization::new();
    words.adapt(&["b a a"]);
    assert_eq!((words.token(2), words.token(3), words.token(9)), (Some("a"), Some("b"), Some("[UNK]")));
}

#[test]
fn rows_are_as_long_as_the_longest_unless_told() {
    let words = TextVectorization::new().vocabulary(["a", "b"]);
    assert_eq!(words.call(&["a b z", "", "b"]).unwrap().ints(), [2, 3, 1, 0, 0, 0, 3, 0, 0]);
    assert_eq!(words.call::<&str>(&[]).unwrap().ints(), [0; 0]);
    let two = words.output_sequence_length(2);
    assert_eq!(two.call(&["a b z", "", "b"]).unwrap().ints(), [2, 3, 0, 0, 3, 0]);
}

#[test]
fn sequences_are_padded_and_cut_at_either_side() {
    let rows: [&[i32]; 3] = [&[1], &[], &[2, 3, 4, 5]];
    assert_eq!(pad_sequences(&rows, None, Side::Pre, Side::Pre, 0), [0, 0, 0, 1, 0, 0, 0, 0, 2, 3, 4, 5]);
    assert_eq!(pad_sequences(&rows, 3, Side::Pre, Side::Pre, 0), [0, 0, 1, 0, 0, 0, 3, 4, 5]);
    assert_eq!(pad_sequences(&rows, 3, Side::Post, Side::Post, 9), [1, 9, 9, 9, 9, 9, 2, 3, 4]);
    assert_eq!(pad_sequences::<i32, Vec<i32>>(&[], None, Side::Pre, Side::Pre, 0), [0; 0]);
}

#[test]
fn labels_become_rows_of_zeros_and_ones() {
    assert_eq!(to_categorical(&[2, 0], None).unwrap(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(to_categorical(&[1], 2).unwrap(), [0.0, 1.0]);
    assert!(to_categorical(&[0, 3], 3).unwrap_err().to_string().contains("row 1"));
    assert!(to_categorical(&[-1], 3).is_err());
    assert_eq!(to_categorical(&[], None).unwrap(), [0.0; 0]);
}

/// `keras._legacy.preprocessing.text.hashing_trick(text, 100, "md5")`
#[test]
fn words_are_hashed_as_keras_does() {
    assert_eq!(text_to_word_sequence("It's a\tFINE, day--really!"), ["it's", "a", "fine", "day", "really"]);
    assert_eq!(hashing_trick("The cat sat on the mat", 100, WordHash::Md5), [51, 3, 10, 28, 51, 26]);
    assert_eq!(one_hot("", 100), [0; 0]);
    assert_eq!(one_hot("a b", 1), [1, 1]);
    assert!(hashing_trick("a b c", 7, WordHash::Farmhash).iter().all(|n| (1..7).contains(n)));
}

#[test]
fn inputs_survive_their_json() {
    let layer = TextVectorization::new().vocabulary(["caf\u{e9}", "\"quoted\""]).output_sequence_length(3);
    let input = TextInput::new(TextLayer::TextVectorization(layer), 1);
    let again = TextInput::from_json(&input.to_json()).unwrap();
    assert_eq!(again.to_json(), input.to_json());
    assert_eq!(again.encode(&["caf\u{e9} x"]).unwrap().ints(), [2, 1, 0]);
    for broken in ["", "{}", "[1]", "{\"class_name\": \"Dense\", \"config\": {}, \"texts\": 1}", &input.to_json()[..20]]
    {
        assert!(TextInput::from_json(broken).is_err(), "{broken}");
    }
    let none = input.to_json().replace("\"texts\":1", "\"texts\":0");
    assert!(TextInput::from_json(&none).is_err());
}
