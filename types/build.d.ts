/**
 * What the build adds to the Lua.
 */

/** The version in package.json. */
declare const module_version: string;
