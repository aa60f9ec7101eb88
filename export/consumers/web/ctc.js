// Greedy CTC: the best token of every frame, repeats counted once, blanks not at all.

// What Python's str.split() splits at. \s is not the same: it has U+FEFF, and lacks the separators 1C to 1F and U+0085.
const WHITE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

/**
 * Check the vocabulary of bundle.json: {tokens, blank, word_boundary, silent}.
 *
 * `silent` are ids other than the blank that print nothing; `word_boundary` is what stands for a space inside
 * tokens ("|", or sentencepiece's "▁"), or null.
 */
export function readVocabulary(record) {
  const { tokens, blank, word_boundary: wordBoundary = null, silent = [] } = record ?? {};
  const isId = (id) => Number.isInteger(id) && id >= 0 && id < tokens.length;
  const usable =
    Array.isArray(tokens) &&
    tokens.every((token) => typeof token === "string" && token !== "") &&
    (wordBoundary === null || (typeof wordBoundary === "string" && wordBoundary !== "")) &&
    Array.isArray(silent) &&
    [blank, ...silent].every(isId);
  if (!usable) throw new Error("bundle.json has no usable vocabulary: export the run again");
  return { tokens, blank, wordBoundary, silent: new Set(silent) };
}

/**
 * Return the best token and the blank's log-probability of each frame of log-probabilities [frames, tokens].
 */
export function bestTokens(logProbs, frames, vocabulary) {
  const width = vocabulary.tokens.length;
  const best = new Int32Array(frames);
  const blanks = new Float32Array(frames);
  for (let frame = 0; frame < frames; frame++) {
    const row = logProbs.subarray(frame * width, (frame + 1) * width);
    let winner = 0;
    for (let token = 0; token < width; token++) {
      if (Number.isNaN(row[token])) throw new Error("the model answered with NaN: its weights are broken");
      if (row[token] > row[winner]) winner = token;
    }
    best[frame] = winner;
    blanks[frame] = row[vocabulary.blank];
  }
  return { best, blanks };
}

/** Return what a path, the token of every frame, says. */
export function pathText(path, { tokens, blank, wordBoundary, silent }) {
  let text = "";
  path.forEach((token, frame) => {
    if (token !== path[frame - 1] && token !== blank && !silent.has(token)) text += tokens[token];
  });
  if (wordBoundary !== null) text = text.replaceAll(wordBoundary, " ");
  return text.split(WHITE).filter(Boolean).join(" ");
}
