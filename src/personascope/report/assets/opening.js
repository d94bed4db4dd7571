// The trait that a page of watched rows opens on.
import { reading, traitOf } from "personascope/data";

/** The largest of the rows' mean z over their responses. */
function mean(rows, trait) {
  const means = rows.map((row) => {
    const own = traitOf(row.run, trait.name);
    const count = row.tokens.length - row.prompt_length;
    if (!own || !count) return -Infinity;
    let sum = 0;
    for (let t = row.prompt_length; t < row.tokens.length; t++) sum += reading(row, own.name, own.read_layer, t)?.z ?? 0;
    return sum / count;
  });
  return Math.max(...means);
}

/** The trait that is steered, in the rows shown if there, or else in any; where none is, the one of the highest mean z over a
    response shown, of those that surely read better than chance if there are any. known: the traits. */
export function openingTrait(shown, rows, known) {
  const steered = [...shown, ...rows].flatMap((row) => row.writes.map((write) => traitOf({ traits: known }, write.direction)));
  const sure = known.filter((one) => !one.doubt);
  const means = (sure.length ? sure : known).map((one) => [mean(shown, one), one]);
  return steered.find(Boolean) ?? means.reduce((one, other) => (other[0] > one[0] ? other : one))[1];
}
