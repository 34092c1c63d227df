// A stack for the JSON scanner.

/// A stack in memory of its own. Pushing and popping is most of what the scanner does, and an array would look each time
/// whether somebody else holds it too.
struct ScanStack<Element: BitwiseCopyable>: ~Copyable {
    private var memory: UnsafeMutableBufferPointer<Element>
    private(set) var count = 0

    init(capacity: Int) {
        memory = .allocate(capacity: max(capacity, 1))
    }

    deinit { memory.deallocate() }

    var isEmpty: Bool { count == 0 }

    var last: Element? { count > 0 ? memory[count - 1] : nil }

    subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count)
            return memory[index]
        }
        set {
            precondition(index >= 0 && index < count)
            memory[index] = newValue
        }
    }

    mutating func append(_ element: Element) {
        if count == memory.count { grow() }
        memory.initializeElement(at: count, to: element)
        count += 1
    }

    @discardableResult
    mutating func removeLast() -> Element {
        precondition(count > 0)
        count -= 1
        return memory[count]
    }

    mutating func removeLast(_ number: Int) {
        precondition(number >= 0 && number <= count)
        count -= number
    }

    /// The elements from `index` on; void once something is pushed or popped.
    func elements(from index: Int) -> UnsafeMutableBufferPointer<Element> {
        UnsafeMutableBufferPointer(rebasing: memory[index..<count])
    }

    private mutating func grow() {
        let larger = UnsafeMutableBufferPointer<Element>.allocate(capacity: memory.count * 2)
        _ = larger.initialize(fromContentsOf: memory)
        memory.deallocate()
        memory = larger
    }
}
