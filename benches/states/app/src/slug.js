import { randomInt } from "node:crypto";

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

/** Makes a name for a link that nobody guesses. */
export function makeSlug(length) {
  return Array.from({ length }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}
