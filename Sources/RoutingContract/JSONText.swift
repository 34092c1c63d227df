// The pieces of JSON that have several spellings, and their one canonical spelling: strings and numbers.

/// Strings: what stands between the quotes (RFC 8259 §7).
enum JSONString {
    static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x80 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }

    /// Marks (by its highest bit) each of eight bytes that is not plain; marks above the lowest may be wrong.
    static func specialBytes(in word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        let quotes = word ^ ones &* UInt64(UInt8(ascii: "\""))
        let backslashes = word ^ ones &* UInt64(UInt8(ascii: "\\"))
        let controls = (word &- ones &* 0x20) & ~word
        return (((quotes &- ones) & ~quotes) | ((backslashes &- ones) & ~backslashes) | controls | word) & highs
    }

    /// How many bytes from `offset` on are plain: eight at a time, then one by one.
    static func plainBytes(in source: UnsafeBufferPointer<UInt8>, from offset: Int) -> Int {
        let raw = UnsafeRawBufferPointer(source)
        var cursor = offset
        while source.count - cursor >= 8 {
            let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: cursor, as: UInt64.self))
            let special = specialBytes(in: word)
            // The lowest mark is exact; borrows can only set marks above it.
            guard special == 0 else { return cursor + (special.trailingZeroBitCount >> 3) - offset }
            cursor += 8
        }
        while cursor < source.count, isPlain(source[cursor]) { cursor += 1 }
        return cursor - offset
    }

    /// The length of the well-formed sequence that starts here with a byte above ASCII; `nil` for overlong forms,
    /// surrogates, values over U+10FFFF and everything cut short (RFC 3629 §4).
    static func lengthOfUTF8Sequence(in source: UnsafeBufferPointer<UInt8>, at offset: Int) -> Int? {
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch source[offset] {
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: length = 4
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return nil
        }
        guard source.count - offset >= length, second.contains(source[offset + 1]) else { return nil }
        for index in 2..<max(2, length) where source[offset + index] & 0xC0 != 0x80 { return nil }
        return length
    }

    /// Reads one escape (for a pair of surrogates both) with `offset` at its backslash, and moves past it.
    static func readEscape(
        in source: UnsafeBufferPointer<UInt8>, at offset: inout Int
    ) throws(JSONError) -> Unicode.Scalar {
        let start = offset
        guard start + 1 < source.count else { throw JSONError(.endsEarly, at: source.count) }
        offset += 2
        switch source[start + 1] {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{08}"
        case UInt8(ascii: "f"): return "\u{0C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw JSONError(.malformedEscape, at: start)
        }
        let unit = try readHexadecimal(in: source, at: &offset, escape: start)
        if let scalar = Unicode.Scalar(unit) { return scalar }
        // A surrogate: only a high one with a low one right behind it stands for a character.
        guard unit < 0xDC00 else { throw JSONError(.loneSurrogate, at: start) }
        guard offset + 1 < source.count else { throw JSONError(.endsEarly, at: source.count) }
        guard source[offset] == UInt8(ascii: "\\"), source[offset + 1] == UInt8(ascii: "u") else {
            throw JSONError(.loneSurrogate, at: start)
        }
        let second = offset
        offset += 2
        let low = try readHexadecimal(in: source, at: &offset, escape: second)
        guard low >= 0xDC00, low <= 0xDFFF,
            let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xD800) << 10 + UInt32(low) - 0xDC00)
        else { throw JSONError(.loneSurrogate, at: start) }
        return scalar
    }

    private static func readHexadecimal(
        in source: UnsafeBufferPointer<UInt8>, at offset: inout Int, escape: Int
    ) throws(JSONError) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard offset < source.count else { throw JSONError(.endsEarly, at: source.count) }
            guard let digit = source[offset].hexadecimalValue else { throw JSONError(.malformedEscape, at: escape) }
            value = value << 4 | UInt16(digit)
            offset += 1
        }
        return value
    }

    /// The one spelling of a character: itself, apart from quote, backslash and control characters, which take their
    /// two-character escape where there is one and `\u00xx` otherwise. Never longer than any other spelling of it.
    static func appendCanonical(_ scalar: Unicode.Scalar, to output: inout [UInt8]) {
        if scalar.value >= 0x80 {
            output.append(contentsOf: UTF8.encode(scalar)!)
        } else {
            appendCanonicalASCII(UInt8(scalar.value), to: &output)
        }
    }

    static func appendCanonicalASCII(_ byte: UInt8, to output: inout [UInt8]) {
        let short: UInt8
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): short = byte
        case 0x08: short = UInt8(ascii: "b")
        case 0x09: short = UInt8(ascii: "t")
        case 0x0A: short = UInt8(ascii: "n")
        case 0x0C: short = UInt8(ascii: "f")
        case 0x0D: short = UInt8(ascii: "r")
        case 0..<0x20:
            output.append(contentsOf: "\\u00".utf8)
            output.append((byte >> 4).hexadecimalDigit)
            output.append((byte & 0x0F).hexadecimalDigit)
            return
        default:
            output.append(byte)
            return
        }
        output.append(UInt8(ascii: "\\"))
        output.append(short)
    }

    /// The text of a string that was scanned and found valid, without its quotes.
    static func decode(_ bytes: UnsafeBufferPointer<UInt8>, isEscaped: Bool) -> String {
        guard isEscaped else { return String(decoding: bytes, as: UTF8.self) }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        var offset = 0
        while offset < bytes.count {
            if bytes[offset] == UInt8(ascii: "\\"), let scalar = try? readEscape(in: bytes, at: &offset) {
                output.append(contentsOf: UTF8.encode(scalar)!)
            } else {
                output.append(bytes[offset])
                offset += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }
}

/// Numbers: two spellings are the same value when they are equal as exact decimals.
///
/// `1`, `1.0`, `10e-1` and `1E0` are one value, `-0` is `0`, and nothing is rounded: `0.1` and
/// `0.10000000000000000001` differ, whatever a reader with floating point may make of them. Only numbers with an exponent
/// of ten digits or more are compared by spelling (with zero before the `e` they are zero all the same); so two values
/// never get one spelling, and one value gets two only there.
enum JSONNumber {
    /// Integers up to this many digits are written without an exponent.
    static let plainDigits = 20
    private static let maximumExponentDigits = 9

    /// Appends the canonical spelling of a valid number.
    static func appendCanonical(_ literal: UnsafeBufferPointer<UInt8>, to output: inout [UInt8]) {
        var digits: [UInt8] = []
        digits.reserveCapacity(literal.count)
        var fractionDigits = 0
        var position = 0
        var isInFraction = false
        let isNegative = literal[0] == UInt8(ascii: "-")
        if isNegative { position = 1 }
        while position < literal.count, literal[position] | 0x20 != UInt8(ascii: "e") {
            if literal[position] == UInt8(ascii: ".") {
                isInFraction = true
            } else {
                if isInFraction { fractionDigits += 1 }
                // Leading zeros say nothing.
                if !digits.isEmpty || literal[position] != UInt8(ascii: "0") { digits.append(literal[position]) }
            }
            position += 1
        }
        guard !digits.isEmpty else {
            output.append(UInt8(ascii: "0"))
            return
        }
        guard let written = exponent(literal, from: position + 1) else {
            output.append(contentsOf: literal)
            return
        }
        var exponent = written - fractionDigits
        while digits.last == UInt8(ascii: "0") {
            digits.removeLast()
            exponent += 1
        }
        if isNegative { output.append(UInt8(ascii: "-")) }
        output.append(contentsOf: digits)
        if exponent >= 0, digits.count + exponent <= plainDigits {
            output.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: exponent))
        } else if exponent != 0 {
            output.append(UInt8(ascii: "e"))
            output.append(contentsOf: String(exponent).utf8)
        }
    }

    /// The exponent written from `start` on, 0 where there is none, `nil` where it has too many digits.
    private static func exponent(_ literal: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
        var value = 0
        var count = 0
        var isNegative = false
        for byte in literal.dropFirst(start) {
            switch byte {
            case UInt8(ascii: "-"): isNegative = true
            case UInt8(ascii: "+"): break
            default:
                if count > 0 || byte != UInt8(ascii: "0") { count += 1 }
                guard count <= maximumExponentDigits else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
        }
        return isNegative ? -value : value
    }
}
