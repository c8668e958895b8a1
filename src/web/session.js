/**
 * Who we are to the server, and the HTTP API.
 *
 * A guest has a token, kept in `localStorage` so that all tabs are one person and a reload changes nothing. When the
 * server no longer takes it (it expired, or the server was restarted with another secret) a new one is fetched under
 * the same name, and the old user id is remembered: messages it wrote are still ours. A guest who takes another name
 * brings its token, and stays the same user.
 *
 * Knows nothing of sockets and of what is on the screen. `storage` and `fetch` are passed in, so that tests need no
 * browser.
 */

const KEY = "chinwag.session";
const FORMER_USERS_MAX = 16;
const TIMEOUT_MS = 5_000;

/** An answer of the API that is not a success. `reason` is the server's, or "unreachable"; `retryS` when to come back, in seconds. */
export class ApiError extends Error {
  constructor(reason, message, status = 0, retryS = 1) {
    super(message);
    this.reason = reason;
    this.status = status;
    this.retryS = retryS;
  }
}

export class Session {
  /** `{user, name, token, guest, former: [user]}`, or null for somebody who has not said a name yet. */
  current;
  #storage; #fetch; #onChange;

  constructor({ storage, fetch, onChange = () => {} }) {
    this.#storage = storage;
    this.#fetch = fetch;
    this.#onChange = onChange;
    this.current = parse(storage.getItem(KEY));
  }

  /**
   * Whether the server takes guests: then, and only then, its list of rooms takes no token. One that cannot be asked
   * may take some.
   */
  async takesGuests() {
    try {
      await this.#api("GET", "api/rooms?limit=1");
    } catch (error) {
      return error.status !== 401;
    }
    return true;
  }

  /** Becomes a guest of this name, or goes on as the one that it is under this name. Throws an ApiError. */
  async enter(name) {
    this.refresh();
    this.#keep(await this.#renamed(name));
  }

  /** The same user, if the server takes its token as a guest's, or else another one. */
  async #renamed(name) {
    if (!this.current?.guest) return this.#guest(name);
    try {
      return await this.#guest(name, this.current.token);
    } catch (error) {
      if (error.status !== 401) throw error;
      return this.#guest(name);
    }
  }

  /** Uses a token made elsewhere, for servers that take no guests. The server is asked whether it likes it. */
  async enterWith(token) {
    await this.#api("GET", "api/rooms?limit=1", { token });
    const claims = claimsOf(token);
    this.#keep({ user: claims.sub, name: claims.name ?? claims.sub, token, guest: false });
  }

  /**
   * The token for the next connection. After a refused attempt the API is asked whether it was the token's fault, which
   * the WebSocket interface does not tell. `expires_at` is not looked at: the server's clock counts, and this one may
   * be wrong. Throws an ApiError `unauthorized` where no new token can be had without the user.
   */
  async token(refusals) {
    this.refresh();
    const { token } = this.current;
    if (refusals > 0 && !(await this.#isAccepted(token))) await this.#replace(token);
    return this.current.token;
  }

  /** Takes over what another tab has stored; true if that was something new. */
  refresh() {
    const stored = parse(this.#storage.getItem(KEY));
    if (!this.current || !stored || stored.token === this.current.token) return false;
    this.current = stored;
    this.#onChange(stored);
    return true;
  }

  /** What the token says that one may do in a room; null if it says nothing. For display: the server decides. */
  levelIn(room) {
    try {
      return levelOf(claimsOf(this.current.token).rooms, room);
    } catch {
      return null;
    }
  }

  /** Makes the room, or finds that it is there. Throws an ApiError. */
  async createRoom(room, title) {
    const request = async (refusals) =>
      this.#api("POST", "api/rooms", { body: title ? { room, title } : { room }, token: await this.token(refusals) });
    try {
      return await request(0);
    } catch (error) {
      if (error.status !== 401) throw error;
      return request(1);
    }
  }

  /** All tabs of a guest ask for a new token at once when a server was restarted. Whose is stored first is that of all: they stay one person. */
  async #replace(refused) {
    const isReplaced = () => this.refresh() || this.current.token !== refused;
    if (isReplaced()) return;
    if (!this.current.guest) throw new ApiError("unauthorized", "The access token is no longer accepted.", 401);
    const guest = await this.#guest(this.current.name);
    if (!isReplaced()) this.#keep(guest);
  }

  async #guest(wanted, known) {
    const { user, name, token } = await this.#api("POST", "api/session", { body: { name: wanted }, token: known });
    return { user, name, token, guest: true };
  }

  async #isAccepted(token) {
    try {
      await this.#api("GET", "api/rooms?limit=1", { token });
    } catch (error) {
      return error.status !== 401;
    }
    return true;
  }

  #keep(session) {
    // Another tab may have become somebody else meanwhile: that, and what it was before, counts.
    const before = [this.current, parse(this.#storage.getItem(KEY))].filter(Boolean);
    const former = new Set(before.flatMap(({ user, former }) => [user, ...former]));
    former.delete(session.user);
    this.current = { ...session, former: [...former].slice(0, FORMER_USERS_MAX) };
    this.#storage.setItem(KEY, JSON.stringify(this.current));
    this.#onChange(this.current);
  }

  async #api(method, path, { body, token } = {}) {
    let answer;
    let result;
    try {
      answer = await this.#fetch(path, {
        method,
        body: body && JSON.stringify(body),
        headers: { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      result = await answer.json();
    } catch {
      throw new ApiError("unreachable", "The server cannot be reached.", answer?.status);
    }
    if (!answer.ok) throw new ApiError(result.error?.reason, result.error?.message, answer.status, Number(answer.headers.get("retry-after")) || 1);
    return result;
  }
}

function parse(text) {
  try {
    const session = JSON.parse(text);
    return session?.token ? { former: [], ...session } : null;
  } catch {
    return null;
  }
}

/** What a JWT says of its owner. Read for display only: the server alone decides whether it is true. */
function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
  } catch {
    throw new ApiError("unauthorized", "That does not look like an access token.");
  }
}

/** Rights by pattern: an exact name beats every pattern, a longer pattern a shorter one. Null where the claim is none. */
function levelOf(rights, room) {
  if (typeof rights !== "object" || rights === null) return null;
  if (Object.hasOwn(rights, room)) return rights[room];
  const patterns = Object.keys(rights).filter((pattern) => pattern.endsWith("*") && room.startsWith(pattern.slice(0, -1)));
  return rights[patterns.sort((a, b) => b.length - a.length)[0]] ?? null;
}
