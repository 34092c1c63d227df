// The newest elements of an endless sequence, numbered from 1.

struct Ring<Element: Sendable>: Sendable {
    /// Elements kept at most; at least 1.
    let limit: Int
    /// Elements dropped so far; the oldest one kept has the next number.
    private(set) var dropped: UInt64
    private var storage: [Element] = []
    /// Where in `storage` the oldest element is.
    private var start = 0

    init(limit: Int, dropped: UInt64 = 0) {
        self.limit = max(1, limit)
        self.dropped = dropped
    }

    var count: Int { storage.count }
    /// The number of the newest element; 0 before the first.
    var last: UInt64 { dropped + UInt64(storage.count) }

    /// Appends, and returns the element that had to go for it.
    @discardableResult
    mutating func append(_ element: Element) -> Element? {
        guard storage.count == limit else {
            storage.append(element)
            return nil
        }
        let oldest = storage[start]
        storage[start] = element
        start = (start + 1) % limit
        dropped += 1
        return oldest
    }

    /// The element with this number; `nil` (and no effect when set) where it is not kept.
    subscript(number: UInt64) -> Element? {
        get { index(of: number).map { storage[$0] } }
        set {
            if let index = index(of: number), let newValue { storage[index] = newValue }
        }
    }

    private func index(of number: UInt64) -> Int? {
        guard number > dropped, number <= last else { return nil }
        return (start + Int(number - dropped - 1)) % limit
    }
}
