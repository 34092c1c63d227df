// One setting as data: where it stands, what it takes, what it means.

/// A setting: its place in the file, the form of its value, and what the reference says about it.
struct SettingKey<Value: Sendable>: Sendable {
    /// Sections and name; `*` stands for a name that the user chooses.
    let path: [String]
    let form: ValueForm<Value>
    let entry: SettingsReference.Entry

    /// - Parameters:
    ///   - fallback: the default, written as the user would write it; `nil` where there is none.
    ///   - shownDefault: what the reference shows as the default where no fixed text is it.
    ///   - environment: the variable's name where it is not derived from the key.
    init(
        _ key: String, _ form: ValueForm<Value>, fallback: String? = nil, shownDefault: String? = nil,
        environment: String? = nil, shape: SettingsReference.Shape = .scalar, isSecret: Bool = false, _ summary: String
    ) {
        path = key.split(separator: ".").map(String.init)
        self.form = form
        entry = SettingsReference.Entry(
            path: path, values: form.shown, fallback: fallback, shownDefault: shownDefault,
            environment: path.contains("*") ? nil : environment ?? Self.environmentName(path), shape: shape,
            isSecret: isSecret, summary: summary)
    }

    /// `worker.drainTimeout` → `WORKER_DRAIN_TIMEOUT`, `defaults.baseURL` → `DEFAULTS_BASE_URL`.
    static func environmentName(_ path: [String]) -> String {
        path.map { component in
            var name = ""
            var previousIsLower = false
            for character in component {
                if character.isUppercase, previousIsLower { name += "_" }
                name += character.uppercased()
                previousIsLower = !character.isUppercase
            }
            return name
        }.joined(separator: "_")
    }
}

/// The form of a value: how it is read and how the reference names it. Throws a reason that ends in what to do.
struct ValueForm<Value: Sendable>: Sendable {
    let shown: String
    let parse: @Sendable (String) throws(Refusal) -> Value

    init(_ shown: String, parse: @escaping @Sendable (String) throws(Refusal) -> Value) {
        self.shown = shown
        self.parse = parse
    }
}

/// Why a value is refused, and what to do. It never repeats the value: the reader does, where that is no secret.
struct Refusal: Error {
    let reason: String

    init(_ reason: String) {
        self.reason = reason
    }
}

extension ValueForm<Int> {
    static func wholeNumber(_ bounds: ClosedRange<Int>) -> ValueForm {
        ValueForm("whole number, \(bounds.lowerBound) to \(bounds.upperBound)") { text throws(Refusal) in
            guard let number = Int(text), text.utf8.first != UInt8(ascii: "+") else {
                throw Refusal("is not a whole number, write one from \(bounds.lowerBound) to \(bounds.upperBound)")
            }
            guard bounds.contains(number) else {
                throw Refusal("is out of bounds, write \(bounds.lowerBound) to \(bounds.upperBound)")
            }
            return number
        }
    }

    static func size(_ bounds: ClosedRange<Int>) -> ValueForm {
        let (low, high) = (Units.sizeText(bounds.lowerBound), Units.sizeText(bounds.upperBound))
        return ValueForm("size, \(low) to \(high)") { text throws(Refusal) in
            let bytes = try Units.parse(text, units: Units.sizes, example: "256KiB")
            guard bounds.contains(bytes) else { throw Refusal("is out of bounds, write \(low) to \(high)") }
            return bytes
        }
    }
}

extension ValueForm<Duration> {
    static func duration(_ bounds: ClosedRange<Duration>) -> ValueForm {
        let (low, high) = (Units.durationText(bounds.lowerBound), Units.durationText(bounds.upperBound))
        return ValueForm("duration, \(low) to \(high)") { text throws(Refusal) in
            let zero = text == "0" ? Duration.zero : nil
            let milliseconds = try zero == nil ? Units.parse(text, units: Units.durations, example: "30s") : 0
            let duration = zero ?? .milliseconds(milliseconds)
            guard bounds.contains(duration) else { throw Refusal("is out of bounds, write \(low) to \(high)") }
            return duration
        }
    }
}

extension ValueForm<Bool> {
    static var boolean: ValueForm {
        ValueForm("true or false") { text throws(Refusal) in
            guard let value = Bool(text) else { throw Refusal("is neither true nor false, write one of them") }
            return value
        }
    }
}

extension ValueForm where Value: RawRepresentable<String> {
    static func choice(_ all: [Value]) -> ValueForm {
        let names = all.map(\.rawValue)
        return ValueForm(names.joined(separator: ", ")) { text throws(Refusal) in
            guard let value = Value(rawValue: text) else {
                throw Refusal("is not one of the choices, write " + names.joined(separator: ", "))
            }
            return value
        }
    }
}

extension Duration {
    /// Reads a duration as settings have it: a whole number with a unit, such as `30s`, `12h` or `14d`.
    public init?(settingText text: String) {
        guard let milliseconds = try? Units.parse(text, units: Units.durations, example: "30s") else { return nil }
        self = .milliseconds(milliseconds)
    }

    /// As settings have it, in the largest unit that leaves no remainder.
    public var settingText: String { Units.durationText(self) }
}

/// Numbers with a unit.
enum Units {
    typealias Unit = (name: String, factor: Int)

    static let durations: [Unit] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
    static let sizes: [Unit] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)]

    /// Reads digits followed by a unit; white space between them does not count.
    static func parse(_ text: String, units: [Unit], example: String) throws(Refusal) -> Int {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let name = text.dropFirst(digits.count).drop { $0 == " " }
        let names = units.map(\.name).joined(separator: ", ")
        guard !digits.isEmpty else {
            throw Refusal("is not a whole number with a unit, write for example \(example) (units: \(names))")
        }
        guard !name.isEmpty else { throw Refusal("has no unit, write for example \(example) (units: \(names))") }
        guard let unit = units.first(where: { $0.name == name }) else {
            throw Refusal("is not a whole number with a known unit, write for example \(example) (units: \(names))")
        }
        guard let number = Int(digits) else { throw Refusal("is too large, write a smaller one") }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.factor)
        guard !overflow else { throw Refusal("is too large, write a smaller one") }
        return product
    }

    static func durationText(_ duration: Duration) -> String {
        let milliseconds = Int(duration / .milliseconds(1))
        return milliseconds == 0 ? "0" : text(milliseconds, durations)
    }

    static func sizeText(_ bytes: Int) -> String { text(bytes, sizes) }

    /// In the largest unit that leaves no remainder.
    private static func text(_ number: Int, _ units: [Unit]) -> String {
        let unit = units.last { number % $0.factor == 0 } ?? units[0]
        return "\(number / unit.factor)\(unit.name)"
    }
}
