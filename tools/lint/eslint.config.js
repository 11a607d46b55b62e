// Rules for the page's own scripts. `make lint` runs them; the app needs neither Node nor any npm package.
import js from "@eslint/js";

const browser = [
  "AbortController", "Blob", "CustomEvent", "Element", "Event", "EventSource", "FormData", "HTMLElement", "Headers", "IntersectionObserver", "MutationObserver", "Node",
  "ResizeObserver", "Response", "URL", "URLSearchParams", "XMLHttpRequest", "clearInterval", "clearTimeout", "console", "crypto", "customElements",
  "document", "fetch", "getComputedStyle", "history", "localStorage", "location", "matchMedia", "navigator", "performance", "queueMicrotask", "requestAnimationFrame", "sessionStorage",
  "setInterval", "setTimeout", "structuredClone", "window",
];

export default [
  { ignores: ["**/vendor/**"] },
  js.configs.recommended,
  {
    files: ["fluxgym/ui/assets/**/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: Object.fromEntries(browser.map((name) => [name, "readonly"])) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "eqeqeq": "error",
      "max-lines": ["error", 300],
      "max-lines-per-function": ["error", 50],
      "no-implicit-globals": "error",
      "no-unused-expressions": ["error", { allowShortCircuit: true, allowTernary: true }],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-use-before-define": ["error", { functions: false, variables: false }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
  { files: ["fluxgym/ui/assets/types.js"], rules: { "max-lines": "off" } }, // made by `make types`
];
