// The order of the questions: another one for each rater, and the same one whenever that rater comes back.

/** A number in [0, 2^32) that hangs on every character: FNV-1a over UTF-16 units, then MurmurHash3's finalizer. */
function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The items' ids as this rater sees them. */
function orderFor(rater, page, items) {
  const rank = new Map(items.map(({ id }) => [id, hashOf(`${page}\n${rater}\n${id}`)]));
  return [...rank.keys()].sort((one, other) => rank.get(one) - rank.get(other) || (one < other ? -1 : 1));
}
