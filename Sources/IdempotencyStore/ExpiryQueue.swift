// When to look at which entry of the store in memory: a binary heap, earliest first.

import RoutingContract

struct ExpiryQueue<Entry> {
    private var heap: [(due: Timestamp, entry: Entry)] = []

    var count: Int { heap.count }

    mutating func insert(_ entry: Entry, at due: Timestamp) {
        heap.append((due, entry))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].due < heap[parent].due else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes out the entry to look at first, if its time has come.
    mutating func removeFirst(dueAt now: Timestamp) -> (due: Timestamp, entry: Entry)? {
        guard let first = heap.first, first.due <= now else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].due < heap[child].due { child += 1 }
            guard heap[child].due < heap[parent].due else { break }
            heap.swapAt(child, parent)
            parent = child
        }
        return first
    }
}
