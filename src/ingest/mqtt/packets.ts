/** `mqtt-packet` as this room uses it; whoever writes packets takes it from here. */
import { generate, parser, writeToStream } from "mqtt-packet";

// It would keep a Buffer for each of the 65,536 identifiers there are, 7 MB from the first packet on, to
// save making one of two bytes.
writeToStream.cacheNumbers = false;

export { generate, parser };
