/** Has clients poll by `XMLHttpRequest`, as in a browser. To be imported before them. */

import { XMLHttpRequest } from "./browser.js";

globalThis.XMLHttpRequest = XMLHttpRequest;
