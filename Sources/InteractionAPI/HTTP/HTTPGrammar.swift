// The pieces that lines of HTTP are made of (RFC 9110 §5.6), found in bytes. Pure.

extension UInt8 {
    /// Whether it may be in no line of an answer (RFC 9110 §5.5).
    var isControl: Bool { self < 0x20 && self != UInt8(ascii: "\t") || self == 0x7F }

    /// RFC 9110 §5.6.2.
    var isTokenCharacter: Bool {
        switch self {
        // Letters, digits, and: ! # $ % & ' * + - . ^ _ ` | ~
        case 0x41...0x5A, 0x61...0x7A, 0x30...0x39, 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E...0x60, 0x7C, 0x7E:
            true
        default: false
        }
    }

    /// The space of optional white space (RFC 9110 §5.6.3).
    var isBlank: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") }
}

extension UInt64 {
    /// The highest bit of its lowest byte that is a control character or a tab; others above that one may be set, too.
    fileprivate var controlBits: UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let isDelete = self ^ (ones &* 0x7F)
        // A byte below n borrows into its highest bit, which was clear.
        return ((self &- ones &* 0x20) & ~self | (isDelete &- ones) & ~isDelete) & (ones &* 0x80)
    }
}

/// Ranges are within the span: the pieces of a line are named by their places in it.
extension Span<UInt8> {
    /// Where the next control character is; the end where there is none.
    func endOfText(from start: Int) -> Int {
        var end = start
        // Eight at once: this is all that most of a head is looked at for.
        while end + 8 <= count {
            let eight = UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: end, as: UInt64.self))
            guard eight.controlBits != 0 else {
                end += 8
                continue
            }
            end += eight.controlBits.trailingZeroBitCount / 8
            if self[end].isControl { return end }
            end += 1
        }
        while end < count, !self[end].isControl { end += 1 }
        return end
    }

    /// Whether these bytes are there as they are.
    func holds(_ text: StaticString, in range: Range<Int>) -> Bool {
        matches(text, in: range) { $0 }
    }

    /// Whether the word is there, in letters of any case.
    ///
    /// - Parameter word: of lower-case letters and hyphens.
    func holdsWord(_ word: StaticString, in range: Range<Int>) -> Bool {
        // Makes a hyphen only of itself and of a control character, which no line holds.
        matches(word, in: range) { $0 | 0x20 }
    }

    private func matches(_ text: StaticString, in range: Range<Int>, _ change: (UInt8) -> UInt8) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { text in
            for offset in 0..<text.count where change(self[range.lowerBound + offset]) != text[offset] { return false }
            return true
        }
    }

    /// Where the token that begins at `start` ends; `start` itself where none does.
    func endOfToken(from start: Int) -> Int {
        var end = start
        while end < count, self[end].isTokenCharacter { end += 1 }
        return end
    }

    /// The range without the white space at both its ends.
    func trimmed(_ range: Range<Int>) -> Range<Int> {
        var (start, end) = (range.lowerBound, range.upperBound)
        while start < end, self[start].isBlank { start += 1 }
        while start < end, self[end - 1].isBlank { end -= 1 }
        return start..<end
    }

    /// The elements of a list (RFC 9110 §5.6.1), empty ones among them. A comma in a quoted string ends an element, too.
    func forEachElement(of list: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = list.lowerBound
        for end in list where self[end] == UInt8(ascii: ",") {
            body(trimmed(start..<end))
            start = end + 1
        }
        body(trimmed(start..<list.upperBound))
    }

    /// A number of digits alone; `nil` also for one that is too large to be meant.
    func decimal(in range: Range<Int>) -> Int? {
        guard 1...18 ~= range.count else { return nil }
        var value = 0
        for index in range {
            guard self[index].isDigit else { return nil }
            value = value * 10 + Int(self[index] - 0x30)
        }
        return value
    }

    func text(in range: Range<Int>) -> String {
        extracting(range).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether the rest of the line is `*( ";" name [ "=" ( token / quoted-string ) ] )` (RFC 9112 §7.1.1, without its white
    /// space, which nobody sends).
    func holdsChunkExtensions(from start: Int) -> Bool {
        var index = start
        while index < count {
            guard self[index] == UInt8(ascii: ";") else { return false }
            let nameEnd = endOfToken(from: index + 1)
            guard nameEnd > index + 1 else { return false }
            index = nameEnd
            guard index < count, self[index] == UInt8(ascii: "=") else { continue }
            guard let valueEnd = endOfTokenOrQuotedString(from: index + 1) else { return false }
            index = valueEnd
        }
        return true
    }

    /// RFC 9110 §5.6.4.
    private func endOfTokenOrQuotedString(from start: Int) -> Int? {
        guard start < count, self[start] == UInt8(ascii: "\"") else {
            let end = endOfToken(from: start)
            return end > start ? end : nil
        }
        var index = start + 1
        while index < count {
            switch self[index] {
            case UInt8(ascii: "\""): return index + 1
            case UInt8(ascii: "\\"): index += 2
            default: index += 1
            }
        }
        return nil
    }
}
