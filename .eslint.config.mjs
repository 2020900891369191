// Rules for the scripts of the pages: `eslint --config .eslint.config.mjs FILE`. No package is imported, so that any eslint will do.
const rules = {
  ...Object.fromEntries([
    "array-callback-return", "constructor-super", "default-case-last", "dot-notation", "for-direction", "getter-return", "no-async-promise-executor",
    "no-case-declarations", "no-class-assign", "no-compare-neg-zero", "no-cond-assign", "no-console", "no-const-assign",
    "no-constant-binary-expression", "no-constant-condition", "no-constructor-return", "no-control-regex", "no-debugger", "no-delete-var", "no-dupe-args",
    "no-dupe-class-members", "no-dupe-else-if", "no-dupe-keys", "no-duplicate-case", "no-else-return", "no-empty", "no-empty-pattern", "no-eval",
    "no-ex-assign", "no-extra-boolean-cast", "no-fallthrough", "no-func-assign", "no-global-assign", "no-implied-eval", "no-inner-declarations",
    "no-invalid-regexp", "no-irregular-whitespace", "no-lonely-if", "no-loss-of-precision", "no-misleading-character-class", "no-new-func",
    "no-new-wrappers", "no-obj-calls", "no-octal", "no-promise-executor-return", "no-redeclare", "no-regex-spaces", "no-self-assign", "no-self-compare",
    "no-setter-return", "no-shadow", "no-shadow-restricted-names", "no-sparse-arrays", "no-this-before-super", "no-throw-literal", "no-undef",
    "no-undef-init", "no-unneeded-ternary", "no-unreachable", "no-unreachable-loop", "no-unsafe-finally", "no-unsafe-negation",
    "no-unsafe-optional-chaining", "no-unused-labels", "no-unused-private-class-members", "no-use-before-define", "no-useless-backreference",
    "no-useless-catch", "no-useless-computed-key", "no-useless-concat", "no-useless-escape", "no-useless-rename", "no-useless-return", "no-var", "no-with",
    "object-shorthand", "prefer-arrow-callback", "prefer-const", "prefer-exponentiation-operator", "prefer-object-spread", "prefer-rest-params",
    "prefer-spread", "prefer-template", "require-yield", "strict", "use-isnan", "valid-typeof",
  ].map((name) => [name, "error"])),
  "eqeqeq": ["error", "always"],
  "no-constant-condition": ["error", { checkLoops: false }],
  "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
  "no-use-before-define": ["error", { functions: false, variables: false }],
};
const names = [
  "AudioContext", "CSS", "KeyboardEvent", "URL", "URLSearchParams", "addEventListener", "atob", "cancelAnimationFrame", "clearTimeout", "devicePixelRatio",
  "document", "getComputedStyle", "history", "innerHeight", "innerWidth", "location", "matchMedia", "performance", "requestAnimationFrame", "setTimeout",
  "structuredClone", "window",
];
const globals = Object.fromEntries(names.map((name) => [name, "readonly"]));

export default [
  { languageOptions: { ecmaVersion: 2022, sourceType: "module", globals }, linterOptions: { reportUnusedDisableDirectives: "error" }, rules },
  { files: ["**/page.js"], languageOptions: { sourceType: "script" }, rules: { strict: ["error", "global"] } },
];
