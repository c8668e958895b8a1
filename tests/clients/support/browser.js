/**
 * What clients before 1.8 take from a browser when they poll: `self`, and `XMLHttpRequest`. To be imported before them.
 *
 * `XMLHttpRequest` here is what those clients use of it, on top of `fetch`.
 */

globalThis.self ??= globalThis;

export class XMLHttpRequest {
  #abort = new AbortController();
  #aborted = false;
  #headers = {};
  #request;
  readyState = 0;
  responseText = "";
  timeout = 0;
  onerror = null;
  ontimeout = null;
  onreadystatechange = null;

  open(method, url) {
    this.#request = { method, url };
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  send(body) {
    const { method, url } = this.#request;
    const late = this.timeout && setTimeout(() => this.#abort.abort(), this.timeout);
    fetch(url, { method, body, headers: this.#headers, signal: this.#abort.signal })
      .then((response) => response.text())
      .then(
        (text) => {
          this.responseText = text;
          this.readyState = 4;
          this.onreadystatechange?.();
        },
        (error) => {
          if (this.#aborted) return;
          if (error.name === "AbortError") this.ontimeout?.();
          else this.onerror?.();
        },
      )
      .finally(() => clearTimeout(late));
  }

  abort() {
    this.#aborted = true;
    this.#abort.abort();
  }
}
