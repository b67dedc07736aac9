/** Nominal typing for values that could be swapped by mistake (STYLE 10). Erased at run time. */
declare const brand: unique symbol;

/** `type Revision = number & Brand<"Revision">` */
export type Brand<Name extends string> = { readonly [brand]: Name };

/** Milliseconds of a monotonic clock; only differences mean something. */
export type MonotonicMs = number & Brand<"MonotonicMs">;

/** Milliseconds since 1970-01-01T00:00:00Z as the host believes them. */
export type WallMs = number & Brand<"WallMs">;
