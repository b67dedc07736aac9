/** Plain data, so that it crosses threads and files. Keys and certificates are PEM. */
export type Credentials = {
  readonly keyPem: string;
  /** The leaf first, then its intermediates; never the anchor. */
  readonly chainPem: string;
};

/** Whom to believe: certificates of this trust domain under these anchors. */
export type Trust = {
  readonly trustDomain: string;
  readonly anchorsPem: readonly string[];
};
