// The JSON scanner: one pass that validates bytes, notes where the outer members stand, and writes the canonical form.

/// Reads JSON from anybody (RFC 8259) with bounded work.
///
/// Stricter than the RFC where it leaves a choice: text is valid UTF-8 without a byte order mark, `\u` escapes form no
/// lone surrogate, no object holds a key twice (compared after unescaping), and nesting is bounded. There is no recursion;
/// time is at most *n* log *n* in the number of keys plus, where keys do not come sorted, *n* times the depth for moving
/// bytes; memory is a small multiple of the document.
public struct JSONScanner: Sendable {
    /// The longest document that is looked at, in bytes: offsets are kept in 32 bits.
    public static let maximumBytes = Int(Int32.max)

    /// Arrays and objects open at the same time; one more is refused.
    public let maximumDepth: Int

    public init(maximumDepth: Int = 64) {
        self.maximumDepth = maximumDepth
    }

    /// Validates the whole of `bytes` as one JSON value.
    public func scan(_ bytes: [UInt8]) throws(JSONError) -> JSONDocument {
        guard bytes.count <= Self.maximumBytes else { throw JSONError(.tooLong, at: Self.maximumBytes) }
        return try bytes.withUnsafeBufferPointer { (source) throws(JSONError) -> JSONDocument in
            var scan = JSONScan(source, maximumDepth: maximumDepth)
            let root = try scan.run()
            return JSONDocument(
                source: bytes, canonical: scan.canonical, root: root, members: scan.members, work: scan.work)
        }
    }
}

/// The state of one pass. Never outlives the buffer that it reads.
struct JSONScan: ~Copyable {
    /// An array or object that is open.
    private struct Frame {
        var isObject: Bool
        /// Where the members of this object start in `pending`.
        var firstPending: Int
        /// Where its first member (or its closing brace) stands in the canonical form.
        var contentStart: Int
        /// Its own place in `members`, -1 for the root; -2 for one whose members are not noted.
        var node: Int32
    }

    /// A member of an open object, by its place in the canonical form.
    private struct Pending {
        /// At the opening quote of the key.
        var start: Int
        /// After the closing quote of the key.
        var keyEnd: Int
        var end: Int
        var sourceOffset: Int
        /// Its place in `members`, or -2.
        var node: Int32
    }

    private let source: UnsafeBufferPointer<UInt8>
    private let maximumDepth: Int
    private var cursor = 0
    /// Source bytes from here to the cursor are already canonical and not yet copied.
    private var runStart = 0
    private var frames = ScanStack<Frame>(capacity: 8)
    private var pending = ScanStack<Pending>(capacity: 16)

    private(set) var canonical: [UInt8] = []
    private(set) var members: [JSONDocument.Member] = []
    /// Key comparisons made and bytes moved for sorting: what could grow faster than the document.
    private(set) var work = 0

    init(_ source: UnsafeBufferPointer<UInt8>, maximumDepth: Int) {
        self.source = source
        self.maximumDepth = maximumDepth
    }

    /// The whole document; returns its root.
    mutating func run() throws(JSONError) -> JSONDocument.Member {
        canonical.reserveCapacity(source.count)
        members.reserveCapacity(16)
        skipWhitespace()
        guard cursor < source.count else { throw JSONError(.empty, at: cursor) }
        var root = JSONDocument.Member(parent: -2, keyStart: 0, keyEnd: 0, valueStart: Int32(cursor))
        root.kind = kind(of: source[cursor])

        while true {
            var escaped = false
            skipWhitespace()
            switch try current() {
            case UInt8(ascii: "\""):
                escaped = try string()
            case UInt8(ascii: "{"):
                try open(isObject: true)
                if try current() != UInt8(ascii: "}") {
                    try key()
                    continue
                }
                try closeObject()
            case UInt8(ascii: "["):
                try open(isObject: false)
                if try current() != UInt8(ascii: "]") { continue }
                cursor += 1
                frames.removeLast()
            case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
                try number()
            case UInt8(ascii: "t"): try literal("true")
            case UInt8(ascii: "f"): try literal("false")
            case UInt8(ascii: "n"): try literal("null")
            case 0xEF where cursor == 0: throw JSONError(.byteOrderMark, at: 0)
            default: throw JSONError(.valueExpected, at: cursor)
            }

            // A value has ended; close what ends with it.
            while let frame = frames.last, try !nextValueFollows(in: frame, escaped: escaped) { escaped = false }
            if frames.isEmpty {
                root.valueEnd = Int32(cursor)
                root.valueIsEscaped = escaped
                break
            }
        }
        flush()
        skipWhitespace()
        guard cursor == source.count else { throw JSONError(.endExpected, at: cursor) }
        return root
    }

    /// After a value inside `frame`: moves on to its next value (`true`), or past its closing mark (`false`).
    private mutating func nextValueFollows(in frame: Frame, escaped: Bool) throws(JSONError) -> Bool {
        if frame.isObject { endMember(escaped: escaped) }
        skipWhitespace()
        switch try current() {
        case UInt8(ascii: ","):
            cursor += 1
            if frame.isObject {
                skipWhitespace()
                try key()
            }
            return true
        case UInt8(ascii: "}") where frame.isObject:
            try closeObject()
            return false
        case UInt8(ascii: "]") where !frame.isObject:
            cursor += 1
            frames.removeLast()
            return false
        default:
            throw JSONError(frame.isObject ? .objectSeparatorExpected : .arraySeparatorExpected, at: cursor)
        }
    }

    // MARK: Objects and arrays

    private mutating func open(isObject: Bool) throws(JSONError) {
        guard frames.count < maximumDepth else { throw JSONError(.tooDeep, at: cursor) }
        cursor += 1
        var node: Int32 = -2
        if isObject {
            if frames.isEmpty {
                node = -1
            } else if frames.count < JSONDocument.notedDepth, frames[frames.count - 1].isObject {
                node = pending[pending.count - 1].node
            }
        }
        frames.append(
            Frame(isObject: isObject, firstPending: pending.count, contentStart: canonicalPosition, node: node))
        skipWhitespace()
    }

    /// A key and its colon.
    private mutating func key() throws(JSONError) {
        guard try current() == UInt8(ascii: "\"") else { throw JSONError(.keyExpected, at: cursor) }
        let start = cursor
        let canonicalStart = canonicalPosition
        let escaped = try string()
        var member = Pending(
            start: canonicalStart, keyEnd: canonicalPosition, end: 0, sourceOffset: start, node: -2)
        let parent = frames[frames.count - 1].node
        let keyEnd = cursor - 1
        skipWhitespace()
        guard try current() == UInt8(ascii: ":") else { throw JSONError(.colonExpected, at: cursor) }
        cursor += 1
        skipWhitespace()
        if parent >= -1 {
            member.node = Int32(members.count)
            var noted = JSONDocument.Member(
                parent: parent, keyStart: Int32(start + 1), keyEnd: Int32(keyEnd), valueStart: Int32(cursor))
            noted.keyIsEscaped = escaped
            noted.kind = kind(of: try current())
            members.append(noted)
        }
        pending.append(member)
    }

    private mutating func endMember(escaped: Bool) {
        let last = pending.count - 1
        pending[last].end = canonicalPosition
        let node = pending[last].node
        if node >= 0 {
            members[Int(node)].valueEnd = Int32(cursor)
            members[Int(node)].valueIsEscaped = escaped
        }
    }

    /// Sorts the object's members by the bytes of their canonical keys, unless they came so, and refuses equal ones.
    private mutating func closeObject() throws(JSONError) {
        let frame = frames.removeLast()
        cursor += 1
        let count = pending.count - frame.firstPending
        guard count > 1 else {
            pending.removeLast(count)
            return
        }
        flush()
        let members = pending.elements(from: frame.firstPending)
        var isSorted = true
        var comparisons = count - 1
        canonical.withUnsafeBufferPointer { canonical in
            for index in 1..<count where !Self.key(of: members[index - 1], precedes: members[index], in: canonical) {
                isSorted = false
                break
            }
            if !isSorted {
                Self.sort(members) { left, right in
                    comparisons += 1
                    return Self.key(of: left, precedes: right, in: canonical)
                }
            }
        }
        work += comparisons
        if !isSorted { try rearrange(frame, members) }
        pending.removeLast(count)
    }

    /// A few are sorted by insertion, in a fraction of the time that the general way takes to begin.
    private static func sort(
        _ members: UnsafeMutableBufferPointer<Pending>, by precedes: (Pending, Pending) -> Bool
    ) {
        var members = members
        guard members.count <= 16 else { return members.sort(by: precedes) }
        for index in 1..<members.count {
            let member = members[index]
            var place = index
            while place > 0, precedes(member, members[place - 1]) {
                members[place] = members[place - 1]
                place -= 1
            }
            members[place] = member
        }
    }

    /// Rewrites an object's content in the order of its sorted members.
    private mutating func rearrange(
        _ frame: Frame, _ members: UnsafeMutableBufferPointer<Pending>
    ) throws(JSONError) {
        for index in 1..<members.count {
            let (left, right) = (members[index - 1], members[index])
            // Sorted, so a key that does not precede its neighbour equals it.
            if !canonical.withUnsafeBufferPointer({ Self.key(of: left, precedes: right, in: $0) }) {
                throw JSONError(.duplicateKey, at: max(left.sourceOffset, right.sourceOffset))
            }
        }
        let count = canonical.count - 1 - frame.contentStart
        canonical.withUnsafeMutableBufferPointer { canonical in
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { sorted in
                var position = 0
                for member in members {
                    if position > 0 {
                        sorted.initializeElement(at: position, to: UInt8(ascii: ","))
                        position += 1
                    }
                    let range = member.start..<member.end
                    _ = sorted[position...].initialize(fromContentsOf: canonical[range])
                    position += range.count
                }
                _ = canonical[frame.contentStart...].update(fromContentsOf: sorted[..<position])
            }
        }
        work += count
    }

    private static func key(
        of left: Pending, precedes right: Pending, in canonical: UnsafeBufferPointer<UInt8>
    ) -> Bool {
        // The closing quotes are left out: they would sort a key after its own extensions by "!" or " ".
        let (leftCount, rightCount) = (left.keyEnd - left.start - 1, right.keyEnd - right.start - 1)
        for index in 1..<max(1, min(leftCount, rightCount)) {
            let (one, other) = (canonical[left.start + index], canonical[right.start + index])
            if one != other { return one < other }
        }
        return leftCount < rightCount
    }

    // MARK: Scalars

    private mutating func literal(_ text: StaticString) throws(JSONError) {
        let count = text.utf8CodeUnitCount
        guard source.count - cursor >= count else { throw JSONError(.endsEarly, at: source.count) }
        for index in 0..<count where source[cursor + index] != text.utf8Start[index] {
            throw JSONError(.valueExpected, at: cursor)
        }
        cursor += count
    }

    /// RFC 8259 §6.
    private mutating func number() throws(JSONError) {
        let start = cursor
        let isNegative = source[cursor] == UInt8(ascii: "-")
        if isNegative { cursor += 1 }
        let digits = cursor
        try skipDigits()
        if source[digits] == UInt8(ascii: "0"), cursor - digits > 1 { throw JSONError(.malformedNumber, at: digits) }
        var isPlain = cursor - digits <= JSONNumber.plainDigits && !(isNegative && source[digits] == UInt8(ascii: "0"))
        if cursor < source.count, source[cursor] == UInt8(ascii: ".") {
            cursor += 1
            try skipDigits()
            isPlain = false
        }
        if cursor < source.count, source[cursor] | 0x20 == UInt8(ascii: "e") {
            cursor += 1
            if cursor < source.count, source[cursor] == UInt8(ascii: "+") || source[cursor] == UInt8(ascii: "-") {
                cursor += 1
            }
            try skipDigits()
            isPlain = false
        }
        guard !isPlain else { return }
        flush(upTo: start)
        JSONNumber.appendCanonical(UnsafeBufferPointer(rebasing: source[start..<cursor]), to: &canonical)
        runStart = cursor
    }

    /// One digit or more.
    private mutating func skipDigits() throws(JSONError) {
        let start = cursor
        while cursor < source.count, source[cursor] &- UInt8(ascii: "0") < 10 { cursor += 1 }
        guard cursor > start else {
            throw JSONError(cursor == source.count ? .endsEarly : .malformedNumber, at: cursor)
        }
    }

    /// From the opening to after the closing quote; says whether it held an escape.
    private mutating func string() throws(JSONError) -> Bool {
        var escaped = false
        cursor += 1
        while true {
            cursor += JSONString.plainBytes(in: source, from: cursor)
            let byte = try current()
            switch byte {
            case UInt8(ascii: "\""):
                cursor += 1
                return escaped
            case UInt8(ascii: "\\"):
                escaped = true
                flush()
                let scalar = try JSONString.readEscape(in: source, at: &cursor)
                JSONString.appendCanonical(scalar, to: &canonical)
                runStart = cursor
            case 0..<0x20:
                throw JSONError(.controlCharacter, at: cursor)
            default:
                guard let length = JSONString.lengthOfUTF8Sequence(in: source, at: cursor) else {
                    throw JSONError(.malformedUTF8, at: cursor)
                }
                cursor += length
            }
        }
    }

    // MARK: Source and canonical form

    private func current() throws(JSONError) -> UInt8 {
        guard cursor < source.count else { throw JSONError(.endsEarly, at: cursor) }
        return source[cursor]
    }

    private func kind(of first: UInt8) -> JSONValue.Kind {
        switch first {
        case UInt8(ascii: "{"): .object
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
        case UInt8(ascii: "n"): .null
        default: .number
        }
    }

    private mutating func skipWhitespace() {
        guard cursor < source.count, Self.isWhitespace(source[cursor]) else { return }
        flush()
        repeat { cursor += 1 } while cursor < source.count && Self.isWhitespace(source[cursor])
        runStart = cursor
    }

    private static func isWhitespace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    /// Where the byte at the cursor will stand in the canonical form.
    private var canonicalPosition: Int { canonical.count + cursor - runStart }

    private mutating func flush() { flush(upTo: cursor) }

    private mutating func flush(upTo end: Int) {
        guard runStart < end else { return }
        canonical.append(contentsOf: UnsafeBufferPointer(rebasing: source[runStart..<end]))
        runStart = end
    }
}
