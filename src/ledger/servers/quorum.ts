/** What a number of voters means, in words for a person who has to decide something now. Pure. */

export const quorumOf = (voters: number): number => Math.floor(voters / 2) + 1;

/** How many of them may be lost at the same time. */
export const survives = (voters: number): number => voters - quorumOf(voters);

const words = ["no", "one", "two", "three", "four", "five", "six", "seven"];
export const numberWord = (count: number): string => words[count] ?? String(count);

export const servers = (count: number): string =>
  `${numberWord(count)} ${count === 1 ? "server" : "servers"}`;

/** "two servers survive no loss; add a third or a witness" */
export function survivalOf(voters: number, witnesses = 0): string {
  if (witnesses > 0 && voters > 2) {
    const one = witnesses === 1 ? "a witness" : `${numberWord(witnesses)} witnesses`;
    return `${servers(voters - witnesses)} and ${one} survive the loss of any ${numberWord(survives(voters))}`;
  }
  switch (voters) {
    case 0:
    case 1:
      return "one server: while it is down, nothing can be changed; three survive the loss of any one";
    case 2:
      return "two servers survive no loss; add a third or a witness";
    case 3:
      return "three servers survive the loss of any one";
    default: {
      const lost = survives(voters);
      const even = voters % 2 === 0;
      return `${servers(voters)} survive the loss of any ${numberWord(lost)}${even ? `, as ${numberWord(voters - 1)} do` : ""}`;
    }
  }
}

/**
 * The same for now: with those that do not answer, what is left to lose.
 * "n2 does not answer: the loss of one more of three servers stops changes"
 */
export function survivalNow(voters: number, silent: readonly string[], witnesses = 0): string {
  if (silent.length === 0) return survivalOf(voters, witnesses);
  const left = voters - silent.length - quorumOf(voters);
  const who = `${namesInWords(silent)} ${silent.length === 1 ? "does" : "do"} not answer`;
  const of = witnesses > 0 ? `${numberWord(voters)} voters` : servers(voters);
  const heard = voters - silent.length;
  const rest = heard === 0 ? "none is" : `${numberWord(heard)} ${heard === 1 ? "is" : "are"}`;
  if (left < 0)
    return `${who}: of ${of} ${rest} left, and ${numberWord(quorumOf(voters))} are needed; gone for good: skerry recover`;
  if (left === 0) return `${who}: the loss of one more of ${of} stops changes`;
  return `${who}: of ${of} ${numberWord(left)} more may be lost`;
}

/** "n1, n2 and n3" */
export function namesInWords(names: readonly string[]): string {
  if (names.length < 2) return names[0] ?? "none";
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
