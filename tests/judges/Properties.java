// Random texts of properties files and what java.util.Properties makes of them, for properties.t.
//   java Properties.java FOLDER N SEED: writes FOLDER/0 ... and prints "good" or "bad" for each
// bad: Java refuses it, or it gives a key twice, which Java does not mind and we do. "#---" does not come up.
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;

public class Properties {
    private static final String SIGNS = "\\\\\\\\\n\n\r  \t\f==:#!uu0041aabn\u00e9";

    private static String text(Random random) {
        StringBuilder text = new StringBuilder();
        for (int n = random.nextInt(30); n > 0; n--)
            if (random.nextInt(12) == 0)
                text.append("\\u00");
            else
                text.append(SIGNS.charAt(random.nextInt(SIGNS.length())));
        return text.toString();
    }

    private static boolean isGood(String text) throws Exception {
        Set<Object> keys = new HashSet<>();
        boolean[] twice = {false};
        java.util.Properties properties = new java.util.Properties() {
            @Override
            public synchronized Object put(Object key, Object value) {
                twice[0] |= !keys.add(key);
                return super.put(key, value);
            }
        };
        try {
            properties.load(new StringReader(text));
        } catch (IllegalArgumentException e) {
            return false;
        }
        return !twice[0];
    }

    public static void main(String[] args) throws Exception {
        Random random = new Random(Long.parseLong(args[2]));
        StringBuilder verdicts = new StringBuilder();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            String text = text(random);
            Files.writeString(Path.of(args[0], String.valueOf(i)), text);
            verdicts.append(isGood(text) ? "good\n" : "bad\n");
        }
        System.out.print(verdicts);
    }
}
