//! Sequences and text in memory.

use thinnet::Inputs;
use thinnet::data::Text;

use super::data_error;

#[test]
fn sequences_are_padded_and_keep_their_lengths() {
    let inputs = Inputs::from_sequences(2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![2, 1]).unwrap();
    assert_eq!((inputs.columns(), inputs.features()), (4, 2));
    assert_eq!((inputs.row_f32(0), inputs.row_f32(1)), (vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 0.0, 0.0]));
    let wider = inputs.clone().with_steps(3).unwrap();
    assert_eq!(wider.row_f32(1), [5.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!((wider.lengths().unwrap().steps, &wider.lengths().unwrap().of_rows[..]), (3, &[2, 1][..]));
    assert_eq!(wider.clone().with_steps(2).unwrap(), inputs);
    let second = wider.select(&[1]).unwrap();
    assert_eq!((second.lengths().unwrap().of_rows[0], second.with_steps(1).unwrap().row_f32(0)), (1, vec![5.0, 6.0]));
    let bytes = Inputs::from_u8(2, vec![1, 2], 1.0).unwrap().with_lengths(2, vec![1]).unwrap().with_steps(4).unwrap();
    assert_eq!(bytes.row_f32(0), [1.0, 2.0, 0.0, 0.0]);

    let error = data_error(wider.with_steps(1));
    assert!(error.contains("row 0 has 2 steps, more than the 1 there is room for"), "{error}");
    assert!(data_error(Inputs::from_f32(2, vec![1.0, 2.0]).unwrap().with_steps(3)).contains("no lengths"));
    assert!(data_error(Inputs::from_sequences(2, vec![1.0; 5], vec![2, 1])).contains("5 values are not 3 steps of 2 features"));
    assert!(data_error(Inputs::from_sequences(1, vec![1.0], vec![1, 0])).contains("row 1 has length 0"));
    assert!(data_error(Inputs::from_sequences(1, vec![], vec![])).contains("columns"));
    assert!(data_error(inputs.with_steps(1 << 31)).contains("2^32 elements or more"));
}

#[test]
fn every_prefix_asks_for_its_next_character() {
    let lines = ["ab", "", "ça"];
    let text = Text::of(lines).unwrap();
    assert_eq!((text.characters(), text.end(), text.size()), (&['a', 'b', 'ç'][..], 3, 4));
    let data = text.next_characters(lines, 5).unwrap();
    let expected: [(&[f32], u32); 4] = [(&[0.0], 1), (&[0.0, 1.0], 3), (&[2.0], 0), (&[2.0, 0.0], 3)];
    assert_eq!((data.rows(), data.classes(), data.columns()), (4, 4, 5));
    for (row, (words, label)) in expected.into_iter().enumerate() {
        assert_eq!(data.inputs().lengths().unwrap().of_rows[row] as usize, words.len());
        let padded = [words, &[0.0; 5][words.len()..]].concat();
        assert_eq!((data.inputs().row_f32(row as u32), data.labels()[row]), (padded, label));
    }
    assert_eq!(data.inputs().samples(), [0, 1, 2, 3]);
    // Only the last steps are looked at.
    let short = text.next_characters(lines, 1).unwrap();
    assert_eq!((short.columns(), short.inputs().row_f32(1), short.labels()[1]), (1, vec![1.0], 3));
}

#[test]
fn text_comes_back_from_its_numbers() {
    let text = Text::of(["zoë", "ann"]).unwrap();
    for line in ["zoë", "ann", "", "noon"] {
        let mut numbers = text.numbers(line).unwrap();
        assert_eq!(text.line(&numbers), line);
        numbers.extend([text.end(), 0]);
        assert_eq!(text.line(&numbers), line);
    }
    assert_eq!(text.line(&[99, 0]), "a");
    let error = data_error(text.next_characters(["ann", "anna!"], 3));
    assert!(error.contains("line 2, character 5 is '!', which is not in the vocabulary"), "{error}");
    assert!(data_error(text.next_characters(["ann"], 0)).contains("steps = 0"));
    assert!(data_error(text.next_characters([""], 3)).contains("no line has a character"));
    assert!(data_error(Text::of(["", ""])).contains("no line has a character"));
}
