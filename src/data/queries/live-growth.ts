/** How often collections grew, of those that live queries watch: whoever remembers a number knows whether it missed something. */
export type Growth = { times: number; users: number };

export interface Growths {
  follow(collection: string): Growth;
  unfollow(collection: string, growth: Growth): void;
  /** Documents of these were written; false: nobody watches any of them. */
  grown(collections: readonly string[]): boolean;
}

export function createGrowths(): Growths {
  const growthByCollection = new Map<string, Growth>();
  return {
    follow(collection) {
      const growth = growthByCollection.get(collection) ?? { times: 0, users: 0 };
      growthByCollection.set(collection, growth);
      growth.users++;
      return growth;
    },
    unfollow(collection, growth) {
      if (--growth.users === 0) growthByCollection.delete(collection);
    },
    grown(collections) {
      let isWatched = false;
      for (const collection of collections) {
        const growth = growthByCollection.get(collection);
        if (!growth) continue;
        growth.times++;
        isWatched = true;
      }
      return isWatched;
    },
  };
}
