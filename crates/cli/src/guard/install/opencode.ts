const STRICT = false
