// The trait that a page of watched rows opens on.
import { reading, traitOf } from "personascope/data";

function peak(rows, trait) {
  let most = 0;
  for (const row of rows) {
    const own = traitOf(row.run, trait.name);
    if (!own) continue;
    for (let t = row.prompt_length; t < row.tokens.length; t++) {
      const z = Math.abs(reading(row, own.name, own.read_layer, t)?.z ?? 0);
      if (z > most) most = z;
    }
  }
  return most;
}

/** The trait that is steered, in the rows shown if there, or else in any; where none is, the one of the largest |z| in a
    response, of those that surely read better than chance if there are any. known: the traits. */
export function openingTrait(shown, rows, known) {
  const steered = [...shown, ...rows].flatMap((row) => row.writes.map((write) => traitOf({ traits: known }, write.direction)));
  const sure = known.filter((one) => !one.doubt);
  const peaks = (sure.length ? sure : known).map((one) => [peak(rows, one), one]);
  return steered.find(Boolean) ?? peaks.reduce((one, other) => (other[0] > one[0] ? other : one))[1];
}
